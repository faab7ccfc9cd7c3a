"""How do we write cloud route tables? One file per cloud; planned, empty until then."""
