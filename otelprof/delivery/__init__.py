"""From a batch to its receivers: what waits and where, one lane for each exporter, and the accounts."""
