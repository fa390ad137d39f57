"""Every client that spanback knows, in every call style, against a server that speaks its wire format."""
