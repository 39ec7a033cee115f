"""What stands in the messages of other people's policy servers: codecs without sockets or torch.

Whatever comes from a socket is data: no codec here runs code of the other side.
"""
