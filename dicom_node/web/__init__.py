"""The status page and its metrics: reads the ledger, asks the node, changes nothing."""
