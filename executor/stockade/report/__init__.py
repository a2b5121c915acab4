"""Reports for people, made from the messages of report.proto and from nothing else."""
