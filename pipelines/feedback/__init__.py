"""What users say and do about answers, and how much of it may be believed. Pure."""
