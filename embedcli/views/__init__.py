"""What a person sees: records as text tables, SVG and HTML. Pure functions of data."""
