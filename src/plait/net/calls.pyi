class Call:
    __name__: str
