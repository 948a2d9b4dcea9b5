package builtin

import (
	"net/netip"
	"strings"
)

// hosts is a list of hosts as agent files write it: example.com for that name and
// all below it, .example.com or *.example.com for those below it only, an address
// or a CIDR for the addresses of URLs that name no host but an address.
type hosts struct {
	names    []string // with a dot in front: only those below
	prefixes []netip.Prefix
}

func newHosts(list []string) hosts {
	var h hosts
	for _, entry := range list {
		if p, err := netip.ParsePrefix(entry); err == nil {
			h.prefixes = append(h.prefixes, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
			a = a.Unmap()
			h.prefixes = append(h.prefixes, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		h.names = append(h.names, strings.TrimSuffix(strings.ToLower(strings.TrimPrefix(entry, "*")), "."))
	}
	return h
}

// have reports whether a URL's host is one of the list.
func (h hosts) have(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap().WithZone("")
		for _, p := range h.prefixes {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	for _, name := range h.names {
		below := name
		if !strings.HasPrefix(name, ".") {
			if host == name {
				return true
			}
			below = "." + name
		}
		if strings.HasSuffix(host, below) && len(host) > len(below) {
			return true
		}
	}
	return false
}
