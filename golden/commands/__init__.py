"""The commands of the command line. Only here, in ``cli`` and in the plugin do the packages meet."""
