"""What the deployer does with a batch of rule files. Acts through the ports alone: no files, sockets or clock here."""
