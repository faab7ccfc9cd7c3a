"""What do the API's JSON documents mean to us? One file per resource: bytes in, values of `model.py` out, and patch bodies back.

What belongs here: every field name of the API, and every judgement whether a field can be understood. All of it is
treated as hostile: a wrong type in one object becomes a problem of that object, never an exception that stops a stream.
What does not: requests, retries, decisions.
"""
