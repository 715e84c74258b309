"""Models and datasets of the Hugging Face Hub. What is in the local cache is used without a request.

Nothing here runs code of a repository or opens weights, and only `bench convert` fetches any
weights but safetensors.
"""
