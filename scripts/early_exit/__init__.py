"""Networks with early exits: run them, set their thresholds, price and check them.

The library knows nothing of Snakemake or of where files lie; the scripts one folder up
unpack a job and call it. It has two floors, and imports go down only:

* upper, imports torch: ``datasets``, ``networks``, ``training``, ``inference``, ``cost``;
* lower, arrays and tables: everything else. Nothing there imports torch, so that an
  analysis job starts in a fraction of a second.
"""

__version__ = "0.1.0"
