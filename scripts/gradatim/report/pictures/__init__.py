"""The pictures of a report, one module each: data in, one SVG out."""
