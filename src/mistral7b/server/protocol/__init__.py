"""What requests and answers look like: strict models of what may be asked, and the fields of what is answered."""
