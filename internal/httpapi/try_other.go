//go:build !unix

package httpapi

import "errors"

// canTry says that trySocket works here.
const canTry = false

func trySocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
