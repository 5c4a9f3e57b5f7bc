# What a developer needs; the steps stand in scripts/.

.DEFAULT_GOAL := help
.PHONY: help run test perf docs

help: ## this list
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: ## build the gateway, start it with a demonstration backend, show what it does
	@scripts/demo

test: ## everything a change must pass
	@scripts/test

perf: ## the load rig, side by side with other proxies (PERF="--smoke" for options)
	@perf/run $(PERF)

docs: ## print the reference pages in docs/ anew
	@scripts/docs
