"""The data plane: the one place where requests meet sockets, so that every decision can stay pure."""
