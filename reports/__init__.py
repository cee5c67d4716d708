"""Pure functions of results files: tables, pages, JUnit."""
