"""Builds of a bundled kernel that are damaged or dishonest, their honest neighbours, and what golden must say of each.

An attack is a few lines of C around the healthy kernel. It does no harm where nothing stops it: it changes files of
a scratch folder only, signals processes of the test that runs it only, and opens without writing what it should not
reach. Where getting through has no effect of its own to look at, the kernel is right only if it got through.
"""
