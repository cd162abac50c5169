"""From a shop's feed to listings: contracts, formats, and rows that broke a contract."""
