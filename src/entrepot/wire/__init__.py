"""Protocol code without IO: bytes in, events out, so that each split of a stream can be tested."""
