"""What `finetune` needs: passages of a corpus, a domain with words of its own, and scores of a model's folder."""
