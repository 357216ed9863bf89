"""`python -m common.new_system NAME`: a system that trains, is studied and has a page, to be changed into one's own."""
