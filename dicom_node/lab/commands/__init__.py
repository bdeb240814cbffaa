"""The lab's subcommands, a module each: add_arguments(parser), run(args) and SUMMARY; nothing heavy at import."""
