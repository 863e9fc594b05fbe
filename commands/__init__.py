"""What a person does by hand, one file each: the logic behind `fab`."""
