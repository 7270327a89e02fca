"""Pure functions of the Titans core; see README.md here for the derivations. Never imports pandas."""
