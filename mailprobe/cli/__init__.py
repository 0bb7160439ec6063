"""FLAGS: click commands; the one room that prints and exits."""
