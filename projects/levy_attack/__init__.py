"""Decision-based black-box attack with symmetric alpha-stable noise (Levy-Attack, EUSIPCO 2019)."""
