"""Early retransmission feedback (arXiv:1807.10495): is a block lost, as seen from the first part of its code word?"""
