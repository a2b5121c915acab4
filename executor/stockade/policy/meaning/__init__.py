"""What policies mean: exact reasoning about conditions, explanations, differences, unions."""
