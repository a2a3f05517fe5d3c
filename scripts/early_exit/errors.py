"""The one error that a user is meant to see."""


class InputError(Exception):
    """Something that the user gave (config, data, checkpoint, records) cannot be used.

    The message is one line: what is wrong, where, and what would be right. The scripts print
    it without a traceback; the traceback goes to the job's log.
    """
