"""Files without threads: paths, whole files, copies, and what happens to a folder."""
