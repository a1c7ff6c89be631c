"""What follows the first piece of bytes that waits: to be sent, encrypted or read. The usual one piece needs none of it."""


class Pieces:
    """A queue; taking from its front moves an index, and now and then the list."""

    def take(self):
        """The first of them; there is one."""
        piece: bytes = self.pieces[self.first]
        self.pieces[self.first] = None
        self.first += 1
        if self.first > 1024 and 2 * self.first > len(self.pieces):
            del self.pieces[: self.first]
            self.first = 0
        return piece

    def left(self):
        return len(self.pieces) - self.first


def pieces_of(piece):
    made: Pieces = Pieces.__new__(Pieces)
    made.pieces = [piece]
    return made
