"""What differs between model families, and what each computes from packed rows."""
