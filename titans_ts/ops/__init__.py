"""Pure functions of the Titans core; README.md here has the derivations. Never imports pandas."""
