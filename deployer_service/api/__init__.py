"""The deployer's own gRPC service. Encodes what the pipeline and the follower know; decides nothing."""
