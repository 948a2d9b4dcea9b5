//go:build unix

package httpapi

import (
	"errors"
	"syscall"
)

// canTry says that trySocket works here.
const canTry = true

// trySocket gives a socket, which is non-blocking as all of the standard library
// are, what it takes at once: 0 bytes and no error if that is nothing.
func trySocket(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		}
		return max(0, n), err
	}
}
