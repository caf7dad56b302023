"""A binary network as one file of C: burn.deploy.c.write makes it, burn.deploy.c.compiled runs it.

kernels.c, main.c, network.h and Makefile in this folder are what a device gets, as they stand; of the
network itself come the table of layers and the numbers (burn.deploy.c.tables).
"""
