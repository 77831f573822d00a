// gomemcache with the line protocol.

package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/bradfitz/gomemcache/memcache"
)

// Version is the version of the client package.
var Version = "unknown"

type program struct {
	selector *memcache.ServerList
	client   *memcache.Client
}

func open(words []string) (*program, error) {
	selector := new(memcache.ServerList)
	var servers []string
	for _, server := range words[2:] {
		// The client has no weights; a server can be listed several times.
		servers = append(servers, server[:strings.LastIndex(server, ":")])
	}
	if err := selector.SetServers(servers...); err != nil {
		return nil, err
	}
	return &program{selector, memcache.NewFromSelector(selector)}, nil
}

func (p *program) answer(word string, words []string) (string, error) {
	key := string(unhex(words[0]))
	switch word {
	case "set":
		err := p.client.Set(&memcache.Item{Key: key, Value: unhex(words[1])})
		return "stored", err
	case "get":
		item, err := p.client.Get(key)
		if err == memcache.ErrCacheMiss {
			return "miss", nil
		}
		if err != nil {
			return "", err
		}
		return "hit " + tohex(item.Value), nil
	case "route":
		address, err := p.selector.PickServer(key)
		return fmt.Sprintf("server %v", address), err
	}
	return "skip no values with a type", nil
}

func unhex(text string) []byte {
	bytes, _ := hex.DecodeString(strings.TrimPrefix(text, "-"))
	return bytes
}

func tohex(bytes []byte) string {
	if len(bytes) == 0 {
		return "-"
	}
	return hex.EncodeToString(bytes)
}

func main() {
	input := bufio.NewReader(os.Stdin)
	var p *program
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		answer := "ready " + Version
		if words[0] == "config" {
			p, err = open(words[1:])
		} else {
			answer, err = p.answer(words[0], words[1:])
		}
		if err != nil {
			answer = "error " + strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Println(answer)
	}
}
