"""The preview that needs nothing: the program evaluated in this process, shown, judged and compared."""
