"""The contract's plain values. Import the modules, each for itself: `words` (no pydantic), `values`, what
requests say (`requests`, `forms`, `direct`), what answers look like (`answers`, `uploads`)."""
