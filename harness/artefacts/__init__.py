"""What training leaves behind: trained tensors, their restoration and their export."""
