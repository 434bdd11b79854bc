"""The options of every command, in a module for each: they load nothing else, so that help and mistakes are quick."""
