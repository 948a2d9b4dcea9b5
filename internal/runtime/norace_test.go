//go:build !race

package runtime_test

const crashEvery = 1
