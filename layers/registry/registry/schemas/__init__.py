"""The contract's plain values. Import the modules, each for itself, as every model costs time to make: `words` (without
pydantic), `values`, what requests say (`strict`, `requests`, `forms`, `direct`, `starting`, `parts`), and what answers
look like (`answers`, `uploads`)."""
