//go:build chaos

package e2e_test

import "testing"

// TestChaosDisconnects: 10,000 connections are cut over 100 sessions.
func TestChaosDisconnects(t *testing.T) { disconnects(t, 100, 10_000, 2000) }

// TestChaosSlowReaders: 1,000 clients of a session do not read.
func TestChaosSlowReaders(t *testing.T) { slowReaders(t, 1000, 10, true) }
