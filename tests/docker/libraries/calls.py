"""Calls docker-py at DOCKER_HOST, and prints a line for each result.

IDs of containers and times, which differ at each engine, are left out.
"""

import json
import re
import time

import docker
import docker.errors


def show(call, result):
    text = json.dumps(result, sort_keys=True)
    print(call, re.sub(r"container [0-9a-f]{12}", "container ID", text))


def refused(call, *args, **options):
    try:
        call(*args, **options)
    except docker.errors.APIError as error:
        return [type(error).__name__, error.response.status_code, error.explanation]
    return "no error"


def of_image(image):
    digests = sorted(image.attrs.get("RepoDigests") or [])
    return [image.id, image.short_id, sorted(image.tags), len(digests) > 0, image.labels]


def of_images(images):
    return sorted(of_image(image) for image in images)


def rows(response):
    return sorted(json.dumps(row) for row in response["ImagesDeleted"] or [])


# Of several versions, the newest that both engines have.
client = docker.from_env(version="1.51")
begin = int(time.time())
show("ping", client.ping())
show("version", client.version()["Os"])
show("info", client.info()["OSType"])

images = client.images
show("list", of_images(images.list()))
show("list in the newest version", of_images(docker.from_env().images.list()))
show("list all", of_images(images.list(all=True)))
show("list by name", of_images(images.list("keep")))
show("list by label", of_images(images.list(filters={"label": ["keep=1"]})))
show("list dangling", of_images(images.list(filters={"dangling": True})))
show("list by bad filter", refused(images.list, filters={"nothing": "x"}))

for name in ["attested:1", "several:1", "whole:1", "plain:1", "quay.io/team/far:1"]:
    image = images.get(name)
    attrs = {key: image.attrs.get(key) for key in ["Architecture", "Os", "Size", "Config", "RootFS"]}
    show("get " + name, [of_image(image), attrs])
for name in ["attested:1", "several:1", "whole:1"]:
    image = images.get(name)
    show("history " + name, [[step["CreatedBy"], step["Size"]] for step in image.history()])
show("get by ID", of_image(images.get(images.get("several:1").id)))
show("get missing", refused(images.get, "missing:1"))
show("get no name", refused(images.get, "UPPER"))

containers = client.containers.list(all=True)
show("containers", sorted([of_image(found.image), found.labels] for found in containers))
show("running containers", client.containers.list())
show("containers by label", client.containers.list(all=True, filters={"label": "missing"}))
show("get missing container", refused(client.containers.get, "missing"))

usage = client.df()
show("df", sorted([image["Id"], image["Size"], sorted(image["RepoTags"] or [])] for image in usage["Images"]))
show("df containers", len(usage["Containers"]))

images.remove("plain:1")
show("remove", refused(images.get, "plain:1"))
show("remove missing", refused(images.remove, "missing:1"))
show("remove used", refused(images.remove, images.get("used:1").id))
images.remove("keep:1", noprune=True)
images.remove("whole:1", force=True)
show("list after removals", of_images(images.list()))

show("prune", rows(images.prune()))
show("prune by label", rows(images.prune(filters={"dangling": False, "label": ["several"]})))
show("prune by bad filter", refused(images.prune, filters={"reference": "x"}))
show("list after prune", of_images(images.list(all=True)))

until = int(time.time()) + 1
events = client.events(since=begin, until=until, decode=True, filters={"type": "image"})
seen = [[event["Type"], event["Action"], event["Actor"]["Attributes"].get("name")] for event in events]
show("events", sorted(event for event in seen if event[1] in ("untag", "delete")))
