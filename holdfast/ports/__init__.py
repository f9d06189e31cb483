"""The ground floor: Protocols, with the frozen values and the errors that cross them."""
