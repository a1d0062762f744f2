# Each recipe is a line one can paste; nothing here is needed to build or test.
# Calls: person -> just -> go. CI calls .ci/run, which does not use just.

channel := env("SLIPWAY_CHANNEL", "alpha")

default:
    just --list

# build the image of a channel
build:
    go run ./cmd/slipway build --channel {{channel}}

# unit tests: no network, no root, no QEMU
test:
    go test -short ./...

test-race:
    go test -short -race ./...

# every test, VM tests included
test-all:
    go test -timeout 85m ./...

# boot tests of one channel
test-qemu:
    go run ./cmd/slipway test --channel {{channel}}

# boot the newest image, console on this terminal
run:
    go run ./cmd/slipway run

lint:
    gofmt -l . && go vet ./...

# build twice with empty caches and compare every file
repro:
    go test -run TestReproducible -v ./cmd/slipway

# the build against mmdebstrap + mksquashfs, side by side
bench-peers:
    go test -run - -bench BenchmarkPeers -benchtime 1x -timeout 30m ./cmd/slipway

clean:
    rm -rf out
