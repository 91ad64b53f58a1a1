"""A map of the words of a table: places, exact neighbours, and what words are coloured by."""

from embedcli.mapping.attributes import Attribute as Attribute
from embedcli.mapping.build import Arrangement as Arrangement
from embedcli.mapping.build import Frame as Frame
from embedcli.mapping.build import Map as Map
from embedcli.mapping.build import map_words as map_words
