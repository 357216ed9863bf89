"""What people see of results: reports of runs, and the tables that README pages read from committed files."""
